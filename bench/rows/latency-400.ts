import { latencyRow } from '../measures/latency';

export const latency400 = latencyRow({ rate: 400, p50: 1.5, p99: 2 });
