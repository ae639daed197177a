import AwsS3 from '@uppy/aws-s3';
import type { Body, Meta, Uppy } from '@uppy/core';

export interface PartwayOptions {
  /** The address of the server, such as `https://uploads.example.org`. */
  server: string;
  /** The headers of the next request: `Authorization`, with a token that is valid now. */
  headers: () => Record<string, string> | Promise<Record<string, string>>;
  /** How many parts are sent at the same time, for all files together; 6 by default. */
  limit?: number;
  /** Milliseconds between the tries of a request; `[0, 1000, 3000, 5000, 10000]` by default. */
  retryDelays?: number[];
  id?: string;
}

/** What the server has stored: `file.response.body` after an upload. */
export interface PartwayBody extends Body {
  session_id: string;
  file_id: string;
  original_filename: string;
  content_type: string;
  size_bytes: number;
  /** Null until somebody asks for it, unless the server computes it for every file. */
  sha256: string | null;
  /** The CRC-64/NVME of the file, 8 bytes in base64. */
  crc64nvme: string | null;
  composite_sha256: string;
  /** The address of the file's bytes. It needs the same `Authorization`. */
  location: string;
}

export default class Partway<M extends Meta, B extends Body> extends AwsS3<M, B> {
  constructor(uppy: Uppy<M, B>, options: PartwayOptions);
}
