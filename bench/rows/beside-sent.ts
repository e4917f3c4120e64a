import { fillSent } from '../harness/backlog';
import { besideRow } from '../measures/beside';

export const besideSent = besideRow({
  name: 'beside-sent',
  what: 'drain of due rows beside sent ones',
  fill: ({ options }, workspace) => fillSent(workspace, { count: options.sent, bytes: 512 }),
});
