declare module "*/nats-server/nats-server" {
  const path: string;
  export default path;
}

declare module "*/nats-server/nats-server.json" {
  const manifest: { readonly sha256: string; readonly version: string };
  export default manifest;
}
