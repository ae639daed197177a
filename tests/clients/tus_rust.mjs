// The crate tus_client against the real binary. The second argument is the path of the program in tus_rust.
import { program, testClients } from "./resuming.mjs";

const client = (method) => ({
  upload: ({ url, token, file }) => program(process.argv[3], [method, `${url}/uploads/tus`, token, file.path]),
});

await testClients({ tus_client: client("PATCH"), "tus_client with POST alone": client("POST") });
