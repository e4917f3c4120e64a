import { MissingPeerError } from './errors';

/**
 * Loads an optional peer when it is needed, so that its absence is told with the command that installs it.
 * @throws MissingPeerError when the package itself is absent. An error inside the package comes through as it is.
 */
export function loadPeer<Module>(packageName: string, neededFor: string): Module {
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports
    return require(packageName) as Module;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // The package may be there and lack a dependency of its own: that is another trouble, with another remedy.
    if (code === 'MODULE_NOT_FOUND' && message.includes(`'${packageName}'`)) {
      throw new MissingPeerError(packageName, neededFor, { cause: error });
    }
    throw error;
  }
}
