// An application with gql.tada. tsc checks that results and variables have the types of the schema.
import { initGraphQLTada, type ResultOf, type VariablesOf } from 'gql.tada';
import type { introspection } from './graphql-env.d.ts';

const graphql = initGraphQLTada<{
  introspection: introspection;
  scalars: { BigInt: string; DateTime: string; JSONObject: Record<string, unknown> };
}>();

const Session = graphql(`
  query Session($id: ID!) {
    uploadSession(id: $id) { status bytesReceived expiresAt receivedParts { first last } file { metadata } }
  }
`);

export function use({ uploadSession: session }: ResultOf<typeof Session>): VariablesOf<typeof Session> {
  const bytes: string | undefined = session?.bytesReceived;
  const metadata: Record<string, unknown> | undefined = session?.file.metadata;
  const isOpen = session?.status === 'INIT' || session?.status === 'IN_PROGRESS';
  // @ts-expect-error There is no such status.
  if (session?.status === 'UPLOADING') return { id: '' };
  return { id: [bytes, metadata?.['album'], isOpen, session?.receivedParts[0]?.last, session?.expiresAt.slice(0, 10)].join() };
}
