import type { Handlers } from './child';

interface Command {
  readonly id: number;
  readonly command: string;
  readonly argument: never;
}

/** What the child was started with. */
export function configOf<Config>(): Config {
  return JSON.parse(process.argv[2] ?? '{}') as Config;
}

/**
 * The child's side of `Child`: starts the role, answers commands by its handlers, and ends with the parent.
 * @param start makes the handlers; one named `stop` cleans up
 */
export function serve(start: () => Promise<Handlers>): void {
  const starting = start();
  const run = async ({ command, argument }: Command): Promise<unknown> => {
    const handlers = await starting;
    if (command === 'ready') return undefined;
    const handler = handlers[command];
    if (handler === undefined && command !== 'stop') throw new Error(`no command ${command}`);
    return handler?.(argument);
  };
  process.on('message', (message: Command) => {
    run(message).then(
      (result) => process.send?.({ id: message.id, result }),
      (error: unknown) =>
        process.send?.({
          id: message.id,
          error: error instanceof Error ? (error.stack ?? '') : String(error),
        }),
    );
  });
  // exit() also writes the CPU profile, where one was asked for.
  process.on('disconnect', () => process.exit(0));
}
