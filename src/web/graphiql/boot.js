// Starts GraphiQL with the token from the fragment of the link. The browser never sends a fragment to a server. This script
// moves the token from the address bar to the session storage of this tab, and sends it only in the Authorization header.
(() => {
  const KEY = "partway.token";
  const element = (id) => document.getElementById(id);
  // Relative to this page, because a proxy may serve it under any path.
  const API = new URL("graphql", location.href);
  const token = () => sessionStorage.getItem(KEY);

  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }

  const form = element("token-form");
  form.hidden = Boolean(token());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, element("token").value.trim());
    location.reload();
  });

  const query = element("first-query").content.textContent;

  if (!window.React || !window.ReactDOM || !window.GraphiQL) {
    element("graphiql").hidden = true;
    form.hidden = true;
    element("unavailable").hidden = false;
    element("curl").textContent =
      `curl ${API} \\\n` +
      `  -H "Authorization: Bearer $PARTWAY_TOKEN" -H 'Content-Type: application/json' \\\n` +
      `  -d '{"query":"{ uploadSessions(first: 10) { nodes { id status receivedPartsText } } }"}'`;
    return;
  }

  const post = async (params, accept, options, signal) => {
    const headers = { "Content-Type": "application/json", Accept: accept, ...options.headers };
    if (token()) headers.Authorization = `Bearer ${token()}`;
    const response = await fetch(API, { method: "POST", headers, body: JSON.stringify(params), signal });
    if (response.status === 401) form.hidden = false;
    return response;
  };

  // Reads subscriptions, which arrive as server-sent events. EventSource cannot send the token, so this code parses the stream.
  async function* subscribe(params, options) {
    const abort = new AbortController();
    try {
      const response = await post(params, "text/event-stream", options, abort.signal);
      if (!response.headers.get("Content-Type").startsWith("text/event-stream")) {
        yield await response.json();
        return;
      }
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let pending = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        const events = (pending + value).split("\n\n");
        pending = events.pop();
        for (const event of events) {
          if (/^event: ?complete/m.test(event)) return;
          const data = event.match(/^data: ?(.*)$/m);
          if (data && data[1]) yield JSON.parse(data[1]);
        }
      }
    } finally {
      abort.abort();
    }
  }

  const isSubscription = ({ operationName }, { documentAST } = {}) =>
    documentAST?.definitions.some(
      (definition) => definition.operation === "subscription" && (!operationName || definition.name?.value === operationName),
    );

  const fetcher = async (params, options = {}) =>
    isSubscription(params, options)
      ? subscribe(params, options)
      : (await post(params, "application/json", options)).json();

  ReactDOM.createRoot(element("graphiql")).render(
    React.createElement(GraphiQL, { fetcher, defaultQuery: query, shouldPersistHeaders: false }),
  );
})();
