import { fillStuck } from '../harness/backlog';
import { besideRow } from '../measures/beside';

export const besideStuck = besideRow({
  name: 'beside-stuck',
  what: 'messages of 1,000 other keys while many wait behind one stuck key',
  keys: 1_000,
  fill: ({ options }, workspace) => fillStuck(workspace, { count: options.stuck, bytes: 512 }),
});
