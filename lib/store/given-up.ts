/** The last error of a row that expired. */
export const EXPIRED = 'Expired before it could be sent';

/** The last error of a row in quarantine. */
export function quarantineReason(claimsMax: number): string {
  return `Quarantined: taken for sending ${claimsMax} times without any outcome, so it may end the process that sends it`;
}
