/** What the relay reads of the module's options: the resolved options fit as they are. All times in milliseconds. */
export interface RelaySettings {
  readonly role: 'full' | 'publisher' | 'relay' | 'consumer';
  readonly onDeadLetter: 'park' | 'skip';
  readonly relay: SendingSettings;
  readonly retry: RetrySettings;
  readonly retention: RetentionSettings;
}

export interface SendingSettings {
  readonly fastPath: boolean;
  readonly leaseMs: number;
  readonly intervalMs: number;
  readonly idleIntervalMaxMs: number;
  readonly claimSizeMax: number;
  readonly inFlightMax: number;
  readonly queueSizeMax: number;
  readonly completionSizeMax: number;
  readonly completionDelayMs: number;
  readonly notifyDelayMs: number;
  readonly listen: boolean;
  readonly sweepIntervalMs: number;
  readonly probeIntervalMs: number;
  readonly shutdownTimeoutMs: number;
}

export interface RetrySettings {
  readonly attemptsMax: number;
  readonly delayMs: number;
  readonly factor: number;
  readonly delayMaxMs: number;
  readonly jitter: number;
  readonly claimsMax: number;
}

export interface RetentionSettings {
  readonly sentMs: number;
  readonly deadLetterMs: number | null;
  readonly inboxMs: number;
  readonly intervalMs: number;
  readonly batchSizeMax: number;
}
