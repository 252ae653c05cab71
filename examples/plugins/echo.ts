import { definePlugin, route, Type } from "unibus/plugin";

const echo = route(
  "GET",
  "/echo/:word",
  "public",
  {
    params: Type.Object({ word: Type.String({ maxLength: 64 }) }),
    reply: Type.Object({ echo: Type.String() }),
    summary: "Says a word back.",
  },
  async ({ params }) => ({ echo: params.word }),
);

/** The smallest plugin: one public route. */
export default definePlugin({
  name: "echo",
  api: 1,
  config: Type.Object({}),
  setup: async () => ({ services: {}, routes: [echo] }),
});
