// An application with GraphQL Code Generator (client preset). tsc checks that results and variables have the types of the schema.
import { graphql } from './gql/index.js';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';

declare function execute<Result, Variables>(document: TypedDocumentNode<Result, Variables>, variables: Variables): Promise<Result>;

const Sessions = graphql(`
  query Sessions($after: String, $size: BigInt) {
    uploadSessions(first: 10, after: $after, open: true, totalSizeBytes: $size) {
      totalCount
      edges { cursor node { id status bytesReceived expiresAt receivedParts { first last } file { originalFilename metadata } } }
      pageInfo { hasNextPage endCursor }
    }
  }
`);

const Create = graphql(`
  mutation Create($input: CreateUploadSessionInput!) {
    createUploadSession(input: $input) { uploadSession { id chunkSizeBytes } userErrors { code message } }
  }
`);

export async function use(): Promise<string> {
  const { uploadSessions } = await execute(Sessions, { size: 2 ** 40, after: null });
  const node = uploadSessions.edges[0]!.node;
  const bytes: bigint = BigInt(node.bytesReceived);
  const expiresAt: Date = new Date(node.expiresAt);
  const metadata: Record<string, unknown> = node.file.metadata;
  const ranges: { first: number; last: number }[] = node.receivedParts;
  // @ts-expect-error A count of bytes is a string.
  const size: number = node.bytesReceived;
  const input = { originalFilename: 'a', totalSizeBytes: '6291456', metadata: { album: 1 } };
  const { createUploadSession: created } = await execute(Create, { input });
  // @ts-expect-error The size is required.
  await execute(Create, { input: { originalFilename: 'a' } });
  return created.userErrors.map(({ code }) => code).join() || `${created.uploadSession?.id}${bytes}${expiresAt}${size}${Object.keys(metadata)}${ranges.length}`;
}
