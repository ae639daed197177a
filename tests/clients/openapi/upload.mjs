// Runs upload.ts, as compiled by tsc, against the real binary.
import { createHash } from "node:crypto";
import { report, withServer } from "../server.mjs";
import { SETTINGS, run } from "../upload.mjs";
import { upload } from "./built/upload.js";

const PARTS = 3;

function assert(holds, what) {
  if (!holds) throw new Error(what);
}

await withServer(async ({ url, token }) => {
  const checks = {
    "a client with generated types resumes an upload": async () => {
      const bytes = new Uint8Array(PARTS * 65536).map((_, index) => index % 251);
      const { refused, isIncomplete, missing, file, listed } = await upload(url, token, bytes);
      assert(refused === "PARTS_MISSING" && isIncomplete, `an early finalize is ${refused}`);
      assert(missing.join() === "1,3", `missing: ${missing}`);
      assert(file?.sha256 === createHash("sha256").update(bytes).digest("hex"), "another digest");
      assert(listed.length === 1 && listed[0].file_id === file.file_id, "not in the list");
    },
  };
  const failures = await run(checks);
  report(Object.keys(checks).length, failures);
}, { ...SETTINGS, PARTWAY_FILE_SHA256: "always" });
