// Apollo Client and urql against the real binary: a query, an invalid one, a partial result, a mutation.
import assert from "node:assert";
import { ApolloClient, HttpLink, InMemoryCache, gql } from "@apollo/client/core/index.js";
import { Client, fetchExchange } from "@urql/core";
import { report, withServer } from "./server.mjs";
import { SETTINGS, createSession, run } from "./upload.mjs";

await withServer(async (server) => {
  const { url, token } = server;
  const headers = { Authorization: `Bearer ${token}` };
  const id = await createSession(server, 3);
  const apollo = new ApolloClient({
    link: new HttpLink({ uri: `${url}/graphql`, headers, fetch }),
    cache: new InMemoryCache(),
    defaultOptions: { query: { errorPolicy: "all" }, mutate: { errorPolicy: "all" } },
  });
  const urql = new Client({ url: `${url}/graphql`, exchanges: [fetchExchange], fetchOptions: { headers }, preferGetMethod: false });
  const session = "query($id: ID!) { uploadSession(id: $id) { id status missingParts { first last } totalSizeBytes } }";
  const partial = `query($id: ID!) { uploadSession(id: $id) { id } nodes(ids: [${'"x",'.repeat(101)}]) { id } }`;
  const abort = "mutation($id: ID!) { abortUploadSession(input: { id: $id }) { uploadSession { status } userErrors { code } } }";
  const codes = (error) => (error.errors ?? error.graphQLErrors ?? []).map((one) => one.extensions.code);

  const checks = {
    "apollo: query": async () => {
      const { data } = await apollo.query({ query: gql(session), variables: { id } });
      assert.deepEqual(data.uploadSession.missingParts.map(({ first, last }) => [first, last]), [[1, 3]]);
    },
    "apollo: invalid query": async () => {
      const { error } = await apollo.query({ query: gql("{ nothing }") });
      assert.deepEqual(codes(error), ["INVALID_INPUT"]);
    },
    "apollo: an error beside what could be answered": async () => {
      const { error } = await apollo.query({ query: gql(partial), variables: { id } });
      assert.deepEqual(codes(error), ["INVALID_INPUT"]);
    },
    "apollo: mutation": async () => {
      const { data } = await apollo.mutate({ mutation: gql(abort), variables: { id: "nonsense" } });
      assert.equal(data.abortUploadSession.userErrors[0].code, "NOT_FOUND");
    },
    "urql: query": async () => {
      const { data } = await urql.query(session, { id });
      assert.equal(data.uploadSession.totalSizeBytes, "196608");
    },
    "urql: query by GET": async () => {
      const { data } = await urql.query(session, { id }, { preferGetMethod: "force" });
      assert.equal(data.uploadSession.status, "INIT");
    },
    "urql: invalid query": async () => {
      const { error } = await urql.query("{ nothing }", {});
      assert.deepEqual(codes(error), ["INVALID_INPUT"]);
    },
    "urql: an error beside what could be answered": async () => {
      const { error } = await urql.query(partial, { id });
      assert.deepEqual(codes(error), ["INVALID_INPUT"]);
    },
    "urql: mutation": async () => {
      const { data } = await urql.mutation(abort, { id });
      assert.equal(data.abortUploadSession.uploadSession.status, "ABORTED");
    },
  };
  report(Object.keys(checks).length, await run(checks));
}, SETTINGS);
