import type { Bench } from '../harness/row';
import type { Workspace } from '../harness/workspace';
import type { RoleConfig } from '../roles/config';

/** Where the roles of a row find its database and the broker. */
export function roleConfig({ broker }: Bench, { type, url }: Workspace): RoleConfig {
  return { database: { type, url }, brokerUrl: broker.url };
}
