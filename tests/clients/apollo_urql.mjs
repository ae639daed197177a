// Apollo Client and urql against the real binary: a query, an invalid one, a partial result, a mutation, a subscription,
// and Apollo's persisted queries.
import assert from "node:assert";
import { createHash } from "node:crypto";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client/core/index.js";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries/index.js";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions/index.js";
import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { createClient as createWsClient } from "graphql-ws";
import WebSocket from "ws";
import { report, withServer } from "./server.mjs";
import { SETTINGS, createSession, finalize, putPart, run } from "./upload.mjs";

await withServer(async (server) => {
  const { url, token } = server;
  const headers = { Authorization: `Bearer ${token}` };
  const id = await createSession(server, 3);
  const apollo = new ApolloClient({
    link: new HttpLink({ uri: `${url}/graphql`, headers, fetch }),
    cache: new InMemoryCache(),
    defaultOptions: { query: { errorPolicy: "all" }, mutate: { errorPolicy: "all" } },
  });
  const socket = createWsClient({
    url: `${url.replace("http", "ws")}/graphql/ws`,
    webSocketImpl: WebSocket,
    connectionParams: { Authorization: `Bearer ${token}` },
  });
  const forwardSubscription = (request) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe({ ...request, query: request.query ?? "" }, sink) }),
  });
  const exchanges = [fetchExchange, subscriptionExchange({ forwardSubscription })];
  const urql = new Client({ url: `${url}/graphql`, exchanges, fetchOptions: { headers }, preferGetMethod: false });
  const session = "query($id: ID!) { uploadSession(id: $id) { id status missingParts { first last } totalSizeBytes } }";
  const partial = `query($id: ID!) { uploadSession(id: $id) { id } nodes(ids: [${'"x",'.repeat(101)}]) { id } }`;
  const abort = "mutation($id: ID!) { abortUploadSession(input: { id: $id }) { uploadSession { status } userErrors { code } } }";
  const watch = "subscription($id: ID!) { uploadSession(id: $id) { id status receivedPartsText } }";

  /** Uploads a session while `subscribe` passes its states to a callback. Resolves to the last state. */
  async function lastState(subscribe) {
    const watched = await createSession(server, 1);
    return new Promise((resolve, reject) => {
      let last;
      const next = async ({ data }) => {
        const isFirst = last === undefined;
        last = data.uploadSession;
        if (last.status === "COMPLETE") resolve(last);
        if (isFirst) await putPart(server, watched, 1).then(() => finalize(server, watched)).catch(reject);
      };
      subscribe(watched, next, reject);
    });
  }

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
    "apollo: a partial result with an error": async () => {
      const { error } = await apollo.query({ query: gql(partial), variables: { id } });
      assert.deepEqual(codes(error), ["INVALID_INPUT"]);
    },
    "apollo: mutation": async () => {
      const { data } = await apollo.mutate({ mutation: gql(abort), variables: { id: "nonsense" } });
      assert.equal(data.abortUploadSession.userErrors[0].code, "NOT_FOUND");
    },
    "apollo: subscription": async () => {
      const follower = new ApolloClient({ link: new GraphQLWsLink(socket), cache: new InMemoryCache() });
      const last = await lastState((watched, next, error) =>
        follower.subscribe({ query: gql(watch), variables: { id: watched } }).subscribe({ next, error }));
      assert.equal(last.receivedPartsText, "1");
    },
    "apollo: persisted queries": async () => {
      const bodies = [];
      const recorded = (input, init) => (bodies.push(JSON.parse(init.body)), fetch(input, init));
      const sha256 = (text) => createHash("sha256").update(text).digest("hex");
      const link = ApolloLink.from([
        new PersistedQueryLink({ sha256 }),
        new HttpLink({ uri: `${url}/graphql`, headers, fetch: recorded }),
      ]);
      const persisted = new ApolloClient({ link, cache: new InMemoryCache(), defaultOptions: { query: { fetchPolicy: "no-cache" } } });
      const ask = async () => (await persisted.query({ query: gql(session), variables: { id } })).data.uploadSession.id;
      assert.deepEqual([await ask(), await ask()], [id, id]);
      assert.deepEqual(bodies.map((body) => "query" in body), [false, true, false], "by hash, with the document, by hash again");
    },
    "urql: subscription": async () => {
      const last = await lastState((watched, next) => urql.subscription(watch, { id: watched }).subscribe(next));
      assert.equal(last.receivedPartsText, "1");
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
    "urql: a partial result with an error": async () => {
      const { error } = await urql.query(partial, { id });
      assert.deepEqual(codes(error), ["INVALID_INPUT"]);
    },
    "urql: mutation": async () => {
      const { data } = await urql.mutation(abort, { id });
      assert.equal(data.abortUploadSession.uploadSession.status, "ABORTED");
    },
  };
  report(Object.keys(checks).length, await run(checks));
  await socket.dispose();
}, SETTINGS);
