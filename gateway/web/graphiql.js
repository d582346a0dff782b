"use strict";

const QUERY = `# One query through every service:
# agents and runs from the agent store, owners from auth,
# passages from vector search, collaborators from the graph.
{
  agents(first: 3) {
    name
    owner { displayName }
    latestVersion { number }
    executions(first: 2) { status durationMs }
    knowledge(query: "how do I catch an exception", first: 3) { text score }
    collaborators(depth: 2) { name }
  }
}
`;

// GraphiQL calls this with the parameters of a request, and with the headers of its header editor.
function fetcher(parameters, { documentAST, headers = {} }) {
  const named = ({ kind, name }) =>
    kind === "OperationDefinition" && (!parameters.operationName || name?.value === parameters.operationName);
  const operation = documentAST?.definitions.find(named);
  return operation?.operation === "subscription" ? follow(parameters, headers) : ask(parameters, headers);
}

async function ask(parameters, headers) {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json", ...headers },
    body: JSON.stringify(parameters),
  });
  return response.json();
}

// One subscription over graphql-transport-ws, as the observable that GraphiQL expects.
function follow(parameters, headers) {
  return {
    subscribe(observer) {
      const socket = new WebSocket(new URL("/graphql", location.href.replace(/^http/, "ws")), "graphql-transport-ws");
      const send = (message) => socket.send(JSON.stringify(message));
      const handlers = {
        connection_ack: () => send({ type: "subscribe", id: "1", payload: parameters }),
        ping: () => send({ type: "pong" }),
        next: ({ payload }) => observer.next(payload),
        error: ({ payload }) => observer.next({ errors: payload }),
        complete: () => socket.close(1000),
      };
      socket.onopen = () => send({ type: "connection_init", payload: headers });
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        handlers[message.type]?.(message);
      };
      socket.onclose = ({ code, reason }) =>
        code === 1000 ? observer.complete() : observer.error(new Error(`closed with ${code}: ${reason}`));
      return { unsubscribe: () => socket.close(1000) };
    },
  };
}

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, { fetcher, defaultQuery: QUERY, isHeadersEditorEnabled: true }),
);
