// The types of partway-client. The fields of sessions, files and events are those of docs/api.md, in camelCase.

/** A pair of part numbers, both included. */
export type Range = [first: number, last: number];
export type SessionStatus = 'INIT' | 'IN_PROGRESS' | 'COMPLETE' | 'FAILED' | 'ABORTED';
export type FileStatus = 'UPLOADING' | 'STORED' | 'FAILED' | 'DELETED';
export type Metadata = Record<string, unknown>;

export interface StoredFile {
  fileId: string;
  originalFilename: string;
  contentType: string;
  sizeBytes: number;
  /** Null until somebody asks for it, unless the server computes it for every file. */
  sha256: string | null;
  /** The CRC-64/NVME of the file, 8 bytes in base64. Null until the file is stored. */
  crc64nvme: string | null;
  compositeSha256: string | null;
  status: FileStatus;
  metadata: Metadata;
  retainUntil: string | null;
}

export interface Session {
  sessionId: string;
  status: SessionStatus;
  statusReason: 'checksum_mismatch' | 'bytes_lost' | 'aborted_by_owner' | 'expired' | null;
  totalParts: number;
  completedParts: number;
  receivedParts: Range[];
  missingParts: Range[];
  chunkSizeBytes: number;
  totalSizeBytes: number;
  bytesReceived: number;
  contiguousBytes: number;
  autoFinalize: boolean;
  version: number;
  file: StoredFile;
  createdAt: string;
  updatedAt: string;
  expiresAt: string;
}

export interface Event {
  id: string;
  type: 'upload.completed' | 'upload.failed' | 'upload.aborted' | 'upload.expired' | 'file.deleted' | (string & {});
  timestamp: string;
  data: {
    sessionId: string; fileId: string; owner: string; statusReason: string | null;
    originalFilename: string | null; contentType: string | null; sizeBytes: number | null;
    sha256: string | null; crc64nvme: string | null; compositeSha256: string | null; metadata: Metadata | null;
  };
}

export interface Account { owner: string; bytesUsed: number; bytesLimit: number | null; openSessions: number }
export interface Limits { chunkSizeBytes: number; maxParts: number; maxFileSizeBytes: number }
/** What a session is created with. */
export type NewSession = { name: string; size: number }
  & Pick<UploadOptions, 'contentType' | 'metadata' | 'idempotencyKey' | 'retainUntil' | 'autoFinalize'>;
export interface DownloadLink { url: string; expiresAt: string }
export interface UploadToken { token: string; uploadUrl: string; expiresAt: string }

type Bytes = Blob | ArrayBuffer | ArrayBufferView;

/** A file of which any bytes can be read. */
export interface SlicedSource {
  size: number; name?: string; type?: string;
  slice(start: number, end: number): Bytes | Promise<Bytes>;
}

/** A file that is read from its beginning. `stream` is called again if the bytes are needed again. */
export interface StreamedSource {
  size: number; name?: string; type?: string;
  stream(): ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** A file. Its bytes are read when they are sent. */
export type Source = Bytes | SlicedSource | StreamedSource;

export interface Progress {
  /** Confirmed bytes, and those on their way. It goes back when a part must be sent again. */
  bytesSent: number;
  /** What the server has, on the disk. */
  bytesConfirmed: number;
  /** What was compared with parts that the server had before. */
  bytesCompared: number;
  totalBytes: number;
  /** Bytes per second, over the last seconds. */
  rate: number;
  /** Seconds; null if nothing moves. */
  eta: number | null;
  /** The parts that the server has. */
  readonly ranges: Range[];
}

export type UploadState =
  | 'waiting' | 'finding' | 'comparing' | 'sending' | 'paused' | 'finalizing' | 'done' | 'failed' | 'aborted';

export interface UploadOptions {
  /** By default the name of the File. */
  name?: string;
  /** By default the type of the File. */
  contentType?: string;
  metadata?: Metadata;
  /** Your own name for this upload. A session that it has created before is used again. */
  idempotencyKey?: string;
  /** When the server deletes the stored file. */
  retainUntil?: Date | string;
  /** The server stores the file as soon as it has all bytes, also if this page is closed by then. */
  autoFinalize?: boolean;
  /** Continues this session. Without it, the server is asked for an open session with this name, size and bytes. */
  sessionId?: string;
  /** How many parts are sent at the same time, and are in memory; 4 by default. */
  parallel?: number;
  /** Milliseconds without progress after which the upload fails; five minutes by default. Time offline does not count. */
  retryFor?: number;
  signal?: AbortSignal;
  /** Whether `signal` also aborts the session on the server. By default the session stays, and can be continued. */
  abortSession?: boolean;
  onProgress?(progress: Progress): void;
  onState?(state: UploadState): void;
}

export interface UploadEvents {
  state: UploadState;
  progress: Progress;
  /** A request failed and is sent again after `wait` milliseconds. */
  retry: { error: PartwayError; wait: number };
}

/** A promise of the stored file, and more. So an `async` function that returns it waits until the upload has ended. */
export interface Upload extends PromiseLike<StoredFile & { sessionId: string }> {
  readonly state: UploadState;
  readonly progress: Progress | null;
  readonly sessionId: string | null;
  /** Returns the function that removes the listener. */
  on<E extends keyof UploadEvents>(event: E, listener: (value: UploadEvents[E]) => void): () => void;
  pause(): void;
  resume(): void;
  /** Stops. With `session`, also on the server: what has arrived is gone. */
  abort(options?: { session?: boolean; reason?: unknown }): Promise<void>;
  catch<T>(failed: (error: unknown) => T | PromiseLike<T>): Promise<(StoredFile & { sessionId: string }) | T>;
  finally(work: () => void): Promise<StoredFile & { sessionId: string }>;
}

interface Signalled { signal?: AbortSignal }

interface WatchOptions extends Signalled {
  /** Called with null when the connection opens, and with the reason when it breaks or cannot open. It is then tried again. */
  onConnection?(error: PartwayError | null): void;
}

export interface PartwayOptions {
  /** The address of the server, such as `https://uploads.example.org`. */
  url: string | URL;
  /** The token, or a function that gets one. It is called again when the server has refused the last one. */
  token: string | (() => string | Promise<string>);
  /** How many uploads run at the same time; 4 by default. Others wait. */
  uploads?: number;
}

export class Partway {
  constructor(options: PartwayOptions);
  // The first is for inference: the other has several kinds of `slice`.
  upload(source: SlicedSource, options?: UploadOptions): Upload;
  upload(source: Source, options?: UploadOptions): Upload;
  createSession(options: Signalled & NewSession): Promise<Session>;
  sessions(options?: Signalled & { status?: SessionStatus; open?: boolean; name?: string; size?: number }): AsyncGenerator<Session, void>;
  session(id: string, options?: Signalled): Promise<Session>;
  watch(id: string, options?: WatchOptions): AsyncGenerator<Session, void>;
  watchAll(options?: WatchOptions): AsyncGenerator<Session, void>;
  events(options?: Signalled & { after?: string }): AsyncGenerator<Event, void>;
  download(fileId: string, options?: Signalled & { range?: [first: number, last?: number] }): Promise<Response>;
  files(options?: Signalled & { status?: FileStatus; name?: string }): AsyncGenerator<StoredFile, void>;
  file(fileId: string, options?: Signalled): Promise<StoredFile>;
  createDownloadLink(fileId: string, options?: Signalled & { expiresIn?: string }): Promise<DownloadLink>;
  /** The record of a stored file, with its SHA-256. The server reads the file if it does not know that yet. */
  computeSha256(fileId: string, options?: Signalled): Promise<StoredFile>;
  deleteFile(fileId: string, options?: Signalled): Promise<null>;
  abort(sessionId: string, options?: Signalled): Promise<null>;
  finalize(sessionId: string, options?: Signalled & { sha256?: string; crc64nvme?: string; compositeSha256?: string }): Promise<Session>;
  me(options?: Signalled): Promise<Account>;
  limits(options?: Signalled): Promise<Limits>;
  createUploadToken(sessionId: string, options?: Signalled & { expiresIn?: string }): Promise<UploadToken>;
}

/**
 * Every failure. `code` is a code of the server (docs/api.md, "Errors"), or: NO_ANSWER, REDIRECTED, HTTP_nnn (an answer of a
 * proxy), NO_TOKEN, INVALID_SOURCE, SOURCE_UNREADABLE, PART_DAMAGED, DIFFERENT_FILE, FAILED. An abort rejects with the reason of
 * its signal instead, which is an `AbortError` by default.
 */
export class PartwayError extends Error {
  constructor(code: string, detail: string, more?: {
    status?: number; retryable?: boolean; details?: Record<string, unknown>; requestId?: string; retryAfter?: number; cause?: unknown;
  });
  readonly code: string;
  /** That of the answer; 0 without one. */
  readonly status: number;
  readonly detail: string;
  /** Whether the same request may succeed later. Uploads have tried again already. */
  readonly retryable: boolean;
  readonly details: Record<string, unknown>;
  readonly requestId?: string;
}
