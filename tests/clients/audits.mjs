// Runs all audits of the npm package graphql-http for the GraphQL over HTTP specification, against the real binary.
import { serverAudits } from "graphql-http";
import { withServer, report } from "./server.mjs";

await withServer(async ({ url, token }) => {
  const withToken = (input, init = {}) =>
    fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } });
  const failures = [];
  const audits = serverAudits({ url: `${url}/graphql`, fetchFn: withToken });
  for (const audit of audits) {
    const result = await audit.fn();
    if (result.status !== "ok") failures.push(`${audit.id} ${audit.name}: ${result.reason}`);
    await result.response?.body?.cancel().catch(() => {});
  }
  report(audits.length, failures);
});
