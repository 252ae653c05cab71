import { definePlugin, defineRoute, route, Type } from "unibus/plugin";

const echo = defineRoute({
  method: "GET",
  path: "/echo/:word",
  access: "public",
  summary: "Says a word back.",
  params: Type.Object({ word: Type.String({ maxLength: 64 }) }),
  reply: Type.Object({ echo: Type.String() }),
});

/** The smallest plugin: one public route. */
export default definePlugin({
  name: "echo",
  api: 1,
  config: Type.Object({}),
  routes: [echo],
  setup: async () => ({
    services: {},
    routes: [route(echo, async ({ params }) => ({ echo: params.word }))],
  }),
});
