// An application of openapi-fetch, with the types that openapi-typescript makes of openapi.json: it uploads a file in parts, breaks off,
// asks what is missing, and finds the file again.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Session = components["schemas"]["Session"];
type Code = components["schemas"]["Code"];

/** Numbers of parts from ranges such as `2` and `4-7`. */
function numbers(ranges: Session["missing_parts"]): number[] {
  return ranges.flatMap((range) => {
    const [first, last] = range.split("-").map(Number);
    const from = first ?? 0;
    return Array.from({ length: (last ?? from) - from + 1 }, (_, index) => from + index);
  });
}

/** Uploads the bytes. Resolves to what the server says about them. */
export async function upload(baseUrl: string, token: string, bytes: Uint8Array<ArrayBuffer>) {
  const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
  const body = { original_filename: "a.bin", total_size_bytes: bytes.length, auto_finalize: false };
  const created = await client.POST("/uploads/sessions", { body, params: { header: { "Idempotency-Key": "once" } } });
  if (!created.data) throw new Error(created.error.code);
  const { session_id: id, chunk_size_bytes: size } = created.data;

  const put = async (number: number) => {
    const part = bytes.subarray((number - 1) * size, number * size);
    const sent = await client.PUT("/uploads/sessions/{id}/parts/{number}", {
      params: { path: { id, number } },
      // openapi-typescript says `string` for binary data.
      body: part as unknown as string,
      bodySerializer: () => part,
    });
    if (!sent.data) throw new Error(sent.error.code);
  };
  await put(2);

  // The codes of an answer are known: a code that the operation cannot answer is an error of tsc.
  const early = await client.POST("/uploads/sessions/{id}/finalize", { params: { path: { id } } });
  const refused: Code | undefined = early.error?.code;
  const isIncomplete = early.error?.code === "PARTS_MISSING";

  const status = await client.GET("/uploads/sessions/{id}", { params: { path: { id } } });
  if (!status.data) throw new Error("no status");
  const missing = numbers(status.data.missing_parts);
  for (const number of missing) await put(number);

  const done = await client.POST("/uploads/sessions/{id}/finalize", { params: { path: { id } } });
  const files = await client.GET("/files", { params: { query: { status: "STORED", original_filename: "a.bin" } } });
  return { refused, isIncomplete, missing, file: done.data?.file, listed: files.data?.files ?? [] };
}
