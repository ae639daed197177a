// Starts GraphiQL with the token that came in the link's fragment. A fragment is never sent to a server; the token is
// moved to this tab's session storage and out of the address bar, and goes out in the Authorization header alone.
(() => {
  const KEY = "partway.token";
  const element = (id) => document.getElementById(id);
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
      `curl ${location.origin}/graphql \\\n` +
      `  -H "Authorization: Bearer $PARTWAY_TOKEN" -H 'Content-Type: application/json' \\\n` +
      `  -d '{"query":"{ uploadSessions(first: 10) { nodes { id status receivedPartsText } } }"}'`;
    return;
  }

  const fetcher = async (params, options = {}) => {
    const headers = { "Content-Type": "application/json", ...options.headers };
    if (token()) headers.Authorization = `Bearer ${token()}`;
    const response = await fetch("/graphql", { method: "POST", headers, body: JSON.stringify(params) });
    if (response.status === 401) form.hidden = false;
    return response.json();
  };

  ReactDOM.createRoot(element("graphiql")).render(
    React.createElement(GraphiQL, { fetcher, defaultQuery: query, shouldPersistHeaders: false }),
  );
})();
