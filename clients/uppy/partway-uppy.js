// An uploader for Uppy that sends to Partway's REST API: @uppy/aws-s3 4.3 or 5.1 with other requests.
//
// The plugin divides a file into chunks, sends several at a time, retries, pauses and resumes. This class says which
// chunks there are and sends them. See docs/uppy.md.
import AwsS3 from '@uppy/aws-s3';

const MIB = 1024 * 1024;

/** The size of the parts that the server chooses for a file, by the rule in docs/api.md, "Creating a session". */
function partSize(size, { chunk_size_bytes, max_parts }) {
  const least = Math.ceil(size / max_parts);
  return least <= chunk_size_bytes ? chunk_size_bytes : Math.ceil(least / MIB) * MIB;
}

/** How many parts make one chunk: the plugin's chunks have at least 5 MiB, and a file has at most 10,000 of them. */
const partsPerChunk = (size, part) => Math.ceil(Math.max(5 * MIB, size / 10_000) / part);

/** The numbers in ranges such as `["1-3", "5"]`. */
function numbers(ranges) {
  return ranges.flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

const isOpen = ({ status }) => status === 'INIT' || status === 'IN_PROGRESS';

/** Browsers have it on https:// and on localhost only. */
const canHash = () => globalThis.crypto?.subtle !== undefined;
const sha256 = async (blob) => new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer()));
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** The error for an answer that is not 2xx, or for none (status 0). Another try makes sense only if it has a `source`. */
function failure(status, text = '') {
  let problem = {};
  try { problem = JSON.parse(text); } catch { /* A proxy may answer with HTML. */ }
  const error = new Error(problem.detail ?? (status ? `The server answered ${status}` : 'The server cannot be reached'));
  const isTemporary = problem.retryable ?? (status === 0 || status === 429 || status >= 500);
  return Object.assign(error, { code: problem.code }, isTemporary && { source: { status } });
}

export default class Partway extends AwsS3 {
  #server;
  #headers;
  #uploads = new Map(); // the id of a file -> the promise of its session, its received parts and their digests

  constructor(uppy, { server, headers, ...options }) {
    super(uppy, {
      // On an object store, a part that a killed server was storing is free again after ten seconds.
      retryDelays: [0, 1000, 3000, 5000, 10_000],
      ...options,
      shouldUseMultipart: true,
      getChunkSize: (data) => this.#chunkSize(data),
      uploadPartBytes: (request) => this.#sendChunk(request),
    });
    this.#server = server.replace(/\/$/, '');
    this.#headers = headers;
  }

  install() {
    this.uppy.addPreProcessor(this.#prepare);
    this.uppy.on('file-removed', this.#removed);
    super.install();
  }

  uninstall() {
    super.uninstall();
    this.uppy.off('file-removed', this.#removed);
    this.uppy.removePreProcessor(this.#prepare);
  }

  // --- What the plugin asks for ---

  /** Called while the plugin divides a file, also when Golden Retriever goes on with an upload and no preprocessor runs. */
  #chunkSize(data) {
    const { size, partway } = this.uppy.getFiles().find((file) => file.data === data);
    return partway.part_bytes * partsPerChunk(size, partway.part_bytes);
  }

  /** Without a key, the plugin does not take the upload for a restored one: what has arrived is known already. */
  async createMultipartUpload(file) {
    await this.#upload(file);
    return { uploadId: file.id, key: '' };
  }

  /** Called when a paused upload goes on. */
  async listParts(file) {
    const upload = await this.#upload(file);
    const session = await this.#retrying(() => this.#call('GET', `/uploads/sessions/${upload.id}`));
    if (!isOpen(session)) throw new Error('The upload has ended on the server');
    upload.received = new Set(numbers(session.received_parts));
    const chunks = Math.max(1, Math.ceil(upload.total_parts / upload.per_chunk));
    return Array.from({ length: chunks }, (_, index) => ({ PartNumber: index + 1, ETag: '' }))
      .filter(({ PartNumber }) => this.#parts(upload, PartNumber).every((number) => upload.received.has(number)));
  }

  signPart(file, { partNumber }) {
    return { file, partNumber };
  }

  /** Proves that the stored file is this one: the server completes the session only if it has exactly these parts. */
  async completeMultipartUpload(file) {
    const upload = await this.#upload(file);
    let composite_sha256;
    if (canHash()) {
      for (let number = 1; number <= upload.total_parts; number += 1) {
        upload.digests[number - 1] ??= await sha256(this.#part(upload, file.data, number));
      }
      composite_sha256 = hex(await sha256(new Blob(upload.digests)));
    }
    const path = `/uploads/sessions/${upload.id}`;
    try {
      const { file: stored } = await this.#retrying(() => this.#call('POST', `${path}/finalize`, { composite_sha256 }));
      return { ...stored, session_id: upload.id, location: `${this.#server}/files/${stored.file_id}/content` };
    } catch (error) {
      // The session has parts of another file: the next try needs a new one.
      if (error.code === 'CHECKSUM_MISMATCH') await this.#call('DELETE', path);
      throw error;
    }
  }

  /** Also called when an upload fails, and then what has arrived must stay. `#removed` does the work. */
  abortMultipartUpload() {}

  // --- Events ---

  /** Before an upload and before another try: how the server divides each file. What an earlier try knew may be outdated. */
  #prepare = async (ids) => {
    const limits = await this.#retrying(() => this.#call('GET', '/uploads/limits'));
    for (const file of this.uppy.getFilesByIds(ids).filter(Boolean)) {
      this.#uploads.delete(file.id);
      // In the state of the file, because Golden Retriever keeps that.
      this.uppy.setFileState(file.id, { partway: { ...file.partway, part_bytes: partSize(file.size, limits) } });
    }
  };

  #removed = async (file) => {
    this.#uploads.delete(file.id);
    const id = file.partway?.session_id;
    if (id && !file.progress.uploadComplete) await this.#abort(id);
  };

  // --- The session of a file, and its parts ---

  #upload(file) {
    if (!this.#uploads.has(file.id)) {
      const opening = this.#retrying(() => this.#open(file));
      this.#uploads.set(file.id, opening);
      opening.catch(() => this.#uploads.delete(file.id));
    }
    return this.#uploads.get(file.id);
  }

  /** The open session for this file, from whatever page it was begun, or a new one. */
  async #open(file) {
    const { part_bytes } = file.partway;
    const { name, type, ...meta } = file.meta;
    let session;
    // Without digests nobody could tell whether the parts in it are of this file.
    if (canHash()) {
      const query = new URLSearchParams({ original_filename: name, total_size_bytes: file.size, limit: 100 });
      const { sessions } = await this.#call('GET', `/uploads/sessions?${query}`);
      session = sessions.find((found) =>
        isOpen(found) && found.chunk_size_bytes === part_bytes && found.file.metadata.uppy_id === file.id);
    }
    session ??= await this.#call('POST', '/uploads/sessions', {
      original_filename: name,
      content_type: type || undefined,
      total_size_bytes: file.size,
      metadata: { ...meta, uppy_id: file.id },
    });
    const { session_id, total_parts, received_parts } = session;
    if (!this.uppy.getFile(file.id)) {
      await this.#abort(session_id);
      throw new Error('The file was removed');
    }
    if (session.chunk_size_bytes !== part_bytes) throw new Error('The limits of the server have changed: try again');
    this.uppy.setFileState(file.id, { partway: { part_bytes, session_id } });
    const per_chunk = partsPerChunk(file.size, part_bytes);
    return { id: session_id, part_bytes, per_chunk, total_parts, received: new Set(numbers(received_parts)), digests: [] };
  }

  /** The numbers of the parts in a chunk; none for an empty file. */
  #parts({ per_chunk, total_parts }, chunk) {
    const first = (chunk - 1) * per_chunk + 1;
    const count = Math.min(per_chunk, total_parts - first + 1);
    return Array.from({ length: Math.max(0, count) }, (_, index) => first + index);
  }

  #part({ part_bytes }, data, number) {
    return data.slice((number - 1) * part_bytes, number * part_bytes);
  }

  // --- Requests ---

  async #sendChunk({ signature: { file, partNumber }, onProgress, onComplete, signal }) {
    const upload = await this.#upload(file);
    let sent = 0;
    const report = (loaded) => onProgress({ loaded, lengthComputable: true });
    for (const number of this.#parts(upload, partNumber)) {
      const part = this.#part(upload, file.data, number);
      if (!upload.received.has(number)) {
        await this.#sendPart(upload, number, part, ({ loaded }) => report(sent + loaded), signal);
      }
      sent += part.size;
    }
    report(sent);
    onComplete('');
    return { ETag: '' };
  }

  async #sendPart(upload, number, part, onProgress, signal) {
    const headers = { ...await this.#headers() };
    const digest = canHash() ? await sha256(part) : undefined;
    if (digest) headers['Content-Digest'] = `sha-256=:${btoa(String.fromCharCode(...digest))}:`;
    const url = `${this.#server}/uploads/sessions/${upload.id}/parts/${number}`;
    try {
      await AwsS3.uploadPartBytes({ signature: { method: 'PUT', url, headers }, body: part, onProgress, signal });
    } catch (error) {
      throw error.source ? failure(error.source.status, error.source.responseText) : error;
    }
    upload.received.add(number);
    upload.digests[number - 1] = digest;
  }

  async #abort(id) {
    await this.#retrying(() => this.#call('DELETE', `/uploads/sessions/${id}`)).catch((error) => this.uppy.log(error));
  }

  async #call(method, path, body) {
    const headers = { ...await this.#headers(), ...(body && { 'Content-Type': 'application/json' }) };
    let response, text;
    try {
      response = await fetch(this.#server + path, { method, headers, body: body && JSON.stringify(body) });
      text = await response.text();
    } catch {
      throw failure(0);
    }
    if (!response.ok) throw failure(response.status, text);
    return text && JSON.parse(text);
  }

  async #retrying(work) {
    for (const delay of this.opts.retryDelays ?? []) {
      try {
        return await work();
      } catch (error) {
        if (!error.source) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
    return work();
  }
}
