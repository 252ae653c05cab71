declare module "*/licenses/third-party" {
  const path: string;
  export default path;
}
