// Clients from PyPI against the real binary. The second argument is the folder of a virtual environment that has them.
import { join } from "node:path";
import { MIB, program, testClients } from "./resuming.mjs";

const bin = (name) => join(process.argv[3], "bin", name);
const python = (client, more) => ({
  upload: ({ url, token, file }) => program(bin("python"), [join(import.meta.dirname, "tus_python.py"), client, `${url}/uploads/tus`, token, file.path, file.state]),
  ...more,
});

/** The command line client keeps the URL of an upload in its folder, and goes on when it is run again. */
async function commandLine({ url, token, file }) {
  const args = ["upload", file.path, "--url", `${url}/uploads/tus`, "--header", `Authorization=Bearer ${token}`, "--resume",
    "--checksum", "sha256", "--max-retries", "0", "--metadata", `filename=${file.name}`];
  for (let tries = 1; ; tries += 1) {
    try {
      return (await program(bin("resumable-upload"), args, { cwd: file.state })).split(/\s+/).find((word) => word.startsWith("http"));
    } catch (error) {
      if (tries === 75) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

await testClients({
  tuspy: python("tuspy"),
  // What came of a request with a checksum that was cut is not kept.
  "tuspy with checksums": python("tuspy-checksum", { again: 2 * MIB }),
  "tuspy with retries": python("tuspy-retries"),
  aiotus: python("aiotus"),
  "resumable-upload": { upload: commandLine, again: 4 * MIB },
});
