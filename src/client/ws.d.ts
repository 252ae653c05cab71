/** The one name that is used of the package `ws`, which Node 20 needs. Its own types are a package of their own. */
declare module "ws" {
  export const WebSocket: new (url: string, options: Readonly<Record<string, unknown>>) => unknown;
}
