// Bun: µWebSockets, which Bun's server is built on, and its native publish/subscribe.
//
//     bun bun_server.ts PORT
//
// server.publish() hands a message to µWebSockets' topic tree, which frames it once, and sends each subscriber what has
// gathered for it in one write. All is as Bun has it by default (no compression, 16 MiB a message, pings), except
// backpressureLimit: a publish is silently dropped for each subscriber that has more bytes waiting than that, and
// publishers are never held back.

// The default is 16 MiB. 64 MiB is what fastfan's subscribers may lag (max_lag_bytes).
const BACKPRESSURE_LIMIT = 64 << 20;

type Client = { topic: string; publishes: boolean };

// Messages that at least one subscriber did not get. publish() says how many bytes it sent, and 0 when it dropped some;
// an empty message has none to send.
let dropped = 0;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const topic = new URL(request.url).pathname;
    const role = request.headers.get("pubsub");
    if (role !== "publisher" && role !== "subscriber") return new Response("no role\n", { status: 400 });
    if (server.upgrade(request, { data: { topic, publishes: role === "publisher" } })) return;
    return new Response("WebSocket only\n", { status: 426 });
  },
  websocket: {
    data: {} as Client,
    backpressureLimit: BACKPRESSURE_LIMIT,
    open(socket) {
      if (!socket.data.publishes) socket.subscribe(socket.data.topic);
    },
    message(socket, message) {
      if (!socket.data.publishes) return;
      const { topic } = socket.data;
      const sent = server.publish(topic, message);
      if (sent === 0 && message.length > 0 && server.subscriberCount(topic) > 0) dropped++;
    },
  },
});

process.on("SIGTERM", () => {
  console.error(JSON.stringify({ dropped }));
  process.exit(0);
});
