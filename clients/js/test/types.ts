// Checked by tsc and never run: what an application writes has the types that index.d.ts promises.
import { Partway, PartwayError, type Progress, type Session, type StoredFile, type Upload } from '../index.js';

const partway = new Partway({ url: new URL('https://uploads.example.org'), token: async () => 'pw_x', uploads: 2 });

export async function use(file: File, signal: AbortSignal): Promise<string | null> {
  const upload: Upload = partway.upload(file, { metadata: { a: 1 }, retainUntil: new Date(), signal, onState: (state) => state === 'done' });
  const off: () => void = upload.on('progress', ({ eta, ranges: [[first, last]] }: Progress) => [eta?.toFixed(), first + last]);
  upload.on('retry', ({ error, wait }) => [error.code, wait + 1]);
  const stored: StoredFile & { sessionId: string } = await upload;
  off();
  await partway.upload(new Uint8Array(1)).catch((error: unknown) => error instanceof PartwayError && error.details['bytesLeft']);
  await partway.upload({ size: 1, slice: async (start, end) => new Uint8Array(end - start) });
  await partway.upload({ size: 1, stream: () => file.stream() });
  // @ts-expect-error A source of unknown length.
  partway.upload({ stream: () => file.stream() });
  // @ts-expect-error There is no such event.
  upload.on('finished', () => {});
  for await (const session of partway.watchAll()) { const version: number = session.version; void version; break; }
  for await (const session of partway.watch(stored.sessionId, { signal })) {
    const open: Session['status'] = session.status;
    if (open === 'COMPLETE') break;
  }
  for await (const { type, data } of partway.events({ after: 'evt_x' })) if (type === 'file.deleted') return data.sha256;
  const response: Response = await partway.download(stored.fileId, { range: [0, 9] });
  const { url } = await partway.createDownloadLink(stored.fileId, { expiresIn: '1h' });
  for await (const { originalFilename } of partway.files({ status: 'STORED' })) if (originalFilename === url) break;
  const created: Session = await partway.createSession({ name: 'a', size: 1, metadata: { a: 1 } });
  for await (const { sessionId } of partway.sessions({ open: true })) if (sessionId === created.sessionId) break;
  const { sha256, crc64nvme }: StoredFile = await partway.computeSha256(stored.fileId, { signal });
  await partway.finalize(stored.sessionId, { sha256: sha256 ?? undefined, crc64nvme: crc64nvme ?? undefined });
  const { token } = await partway.createUploadToken(stored.sessionId, { expiresIn: '1h' });
  return (await partway.me()).bytesLimit === null ? response.text() : token;
}
