import { latencyRow } from '../measures/latency';

export const latency50 = latencyRow({ rate: 50, p50: 1.3, p99: 1.5 });
