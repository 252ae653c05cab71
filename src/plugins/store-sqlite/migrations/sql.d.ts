/** The text of a migration, embedded when the executable is built. */
declare module "*.sql" {
  const text: string;
  export default text;
}
