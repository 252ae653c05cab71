import { inTime } from "../contracts/deadline.ts";
import type { HealthWatch } from "../contracts/health-watch.ts";
import { type Health, type Live, type Route, rawReply, route, type Site, type Tokens } from "../contracts/plugin.ts";
import { protocolVersion, type ReadinessReport } from "../wire/api.ts";
import { isUnibusError, UnibusError } from "../wire/errors.ts";
import { routes } from "../wire/routes.ts";
import { diskPosture, hostFault } from "./host.ts";

/** How long one plugin's health check may take, in milliseconds. */
const healthTimeoutMs = 2_000;

/** A plugin that has been set up, with its name. */
export interface Running {
  readonly name: string;
  readonly live: Live<Tokens>;
}

async function healthOf({ live }: Running): Promise<Health> {
  const asked = async (): Promise<Health> => {
    if (live.health === undefined) return { ok: true };
    const health: unknown = await live.health();
    if (typeof (health as Health | null)?.ok === "boolean") return health as Health;
    return { ok: false, detail: "health() must return { ok: true } or { ok: false }" };
  };
  const late = () => new UnibusError("unavailable", "health check timed out");
  return inTime(asked(), healthTimeoutMs, late).catch(
    (error: unknown): Health => ({ ok: false, detail: isUnibusError(error) ? error.message : "failed" }),
  );
}

/** Reports whether every plugin can do its work now, each plugin's own report, and as `bus` a fault of the computer. */
export async function readiness(running: readonly Running[], dataDir: string): Promise<ReadinessReport> {
  const [fault, ...reports] = await Promise.all([
    hostFault(dataDir),
    ...running.map(async (one) => [one.name, await healthOf(one)] as const),
  ]);
  const plugins: ReadinessReport["plugins"] = Object.fromEntries(reports);
  if (fault !== null) plugins.bus = { ok: false, detail: fault };
  return { ready: Object.values(plugins).every(({ ok }) => ok), plugins };
}

/** The routes GET /info, /healthz and /readyz. Each merges what the plugins report. */
export function healthRoutes(site: Site, running: readonly Running[], watch: HealthWatch, now: () => number): Route[] {
  const posture = async (): Promise<Record<string, string>> =>
    Object.assign(
      { auth: "none", tls: String(site.listener.tls), cluster: "off", store: "none", acl: "none", durability: "none" },
      ...running.map(({ live }) => live.posture ?? {}),
      await diskPosture(site.dataDir),
    );
  return [
    route(routes.bus.info, async () =>
      Object.assign(
        {
          name: "unibus",
          version: site.version,
          protocol: protocolVersion,
          auth: "none",
          nats: [],
          ws: [],
          namespaces: [],
        },
        ...running.map(({ live }) => live.info?.() ?? {}),
        site.publicUrl === null ? {} : { public_url: site.publicUrl },
        { time: new Date(now()).toISOString() },
      ),
    ),
    route(routes.bus.healthz, async () => ({
      status: "ok" as const,
      version: site.version,
      posture: await posture(),
      flags: { ...site.flags },
    })),
    route(routes.bus.readyz, async () => {
      const report = await watch.look();
      return rawReply(JSON.stringify(report), { status: report.ready ? 200 : 503 });
    }),
  ];
}
