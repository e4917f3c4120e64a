export { inProcess } from './in-process.definition';
export type { InProcessExchangeType, InProcessOptions, UnroutablePolicy } from './in-process.options';
