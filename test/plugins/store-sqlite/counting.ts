/** Counts the SQL statements that this process runs. Tests only. */
import { Database, type Statement } from "bun:sqlite";

/** Numbers of statements by kind. */
export interface Counts {
  readonly reads: number;
  readonly writes: number;
  /** Transactions, each of which waits for the disk. */
  readonly commits: number;
}

const running = new Set(["get", "all", "run", "values", "iterate"]);

/** Counts from construction until disposal. */
export class StatementCounter implements Disposable {
  readonly #prepare = Database.prototype.prepare;
  #reads = 0;
  #writes = 0;
  #commits = 0;

  constructor() {
    const prepare = this.#prepare;
    const counted = (statement: Statement, text: string): Statement => this.#watched(statement, text);
    Database.prototype.prepare = function (this: Database, sql: string, ...more: never[]) {
      return counted(prepare.call(this, sql, ...more), sql);
    } as typeof prepare;
  }

  get counts(): Counts {
    return { reads: this.#reads, writes: this.#writes, commits: this.#commits };
  }

  [Symbol.dispose](): void {
    Database.prototype.prepare = this.#prepare;
  }

  #count(sql: string): void {
    const [verb = ""] = sql.trimStart().toUpperCase().split(/\s/, 1);
    if (verb === "SELECT") this.#reads += 1;
    else if (verb === "COMMIT") this.#commits += 1;
    else if (/^(INSERT|UPDATE|DELETE|REPLACE)$/.test(verb)) this.#writes += 1;
  }

  #watched(statement: Statement, sql: string): Statement {
    const run = (method: (...args: unknown[]) => unknown) => {
      return (...args: unknown[]) => {
        this.#count(sql);
        return method.apply(statement, args);
      };
    };
    return new Proxy(statement, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        return running.has(String(name)) ? run(value as () => unknown) : value.bind(target);
      },
    });
  }
}
