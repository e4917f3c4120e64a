import { fillNotDue } from '../harness/backlog';
import { besideRow } from '../measures/beside';

export const besideNotDue = besideRow({
  name: 'beside-not-due',
  what: 'drain of due rows beside rows that are not due yet',
  fill: ({ options }, workspace) => fillNotDue(workspace, { count: options.notDue, bytes: 512 }),
});
