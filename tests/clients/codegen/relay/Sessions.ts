// A page with Relay: a list of sessions with pages, and a session that is read again by its id. relay-compiler checks the documents.
import { graphql } from 'relay-runtime';
import type { Sessions_query$data } from './__generated__/Sessions_query.graphql';
import type { Sessions_session$data } from './__generated__/Sessions_session.graphql';

export const page = graphql`
  query SessionsPageQuery { ...Sessions_query }
`;

export const list = graphql`
  fragment Sessions_query on Query
  @argumentDefinitions(count: { type: "Int", defaultValue: 20 }, cursor: { type: "String" })
  @refetchable(queryName: "SessionsNextPageQuery") {
    uploadSessions(first: $count, after: $cursor, open: true) @connection(key: "Sessions_uploadSessions") {
      edges { node { id bytesReceived ...Sessions_session } }
    }
  }
`;

export const session = graphql`
  fragment Sessions_session on UploadSession @refetchable(queryName: "SessionsRefetchQuery") {
    status
    receivedParts { first last }
    expiresAt
    file { id sizeBytes metadata }
  }
`;

export const file = graphql`
  fragment Sessions_file on UploadFile @refetchable(queryName: "SessionsFileRefetchQuery") { status originalFilename }
`;

export const watch = graphql`
  subscription SessionsWatchSubscription($id: ID!) { uploadSession(id: $id) { id ...Sessions_session } }
`;

export const remove = graphql`
  mutation SessionsDeleteMutation($input: DeleteFileInput!) { deleteFile(input: $input) { uploadFile { id ...Sessions_file } userErrors { code } } }
`;

export function use(query: Sessions_query$data, session: Sessions_session$data): string {
  const bytes: readonly string[] = query.uploadSessions.edges.map(({ node }) => node.bytesReceived);
  const metadata: Record<string, unknown> = session.file.metadata;
  const first: number | undefined = session.receivedParts[0]?.first;
  return [session.expiresAt.slice(0, 10), ...bytes, metadata['album'], first].join();
}
