/** The one export of the package `ws` that is used, which Node 20 needs. Its types are in a separate package. */
declare module "ws" {
  export const WebSocket: new (url: string, options: Readonly<Record<string, unknown>>) => unknown;
}
