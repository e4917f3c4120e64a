/** Something that names a broker: a URI, or amqplib's object of its parts. */
export type ServerAddress = string | ServerAddressParts;

export interface ServerAddressParts {
  readonly hostname?: string;
  readonly port?: number;
  readonly vhost?: string;
  readonly username?: string;
  readonly password?: string;
  readonly heartbeat?: number;
}

/** The address as people may read it: without password, query and user. */
export function displayAddress(address: ServerAddress): string {
  if (typeof address !== 'string') {
    return `${address.hostname ?? 'localhost'}:${address.port ?? 5672}/${encodeURIComponent(address.vhost ?? '/')}`;
  }
  if (!URL.canParse(address)) return 'an unreadable address';
  const { host, pathname } = new URL(address);
  return `${host}${pathname}`;
}

/** Text with the passwords of these addresses taken out, as they stand and as they are encoded in a URI. */
export function redact(text: string, addresses: readonly ServerAddress[]): string {
  let clean = text.replace(/(\bamqps?:\/\/[^\s:@/]*):[^\s@]*@/g, '$1:***@');
  for (const password of addresses.flatMap(passwordsOf)) clean = clean.replaceAll(password, '***');
  return clean;
}

/** A password that is the user's name, too (`guest`), is no secret, and the name is needed to read the broker's refusals. */
function passwordsOf(address: ServerAddress): string[] {
  if (typeof address !== 'string') {
    return address.password && address.password !== address.username ? [address.password] : [];
  }
  if (!URL.canParse(address)) return [];
  const { password, username } = new URL(address);
  if (password === '' || password === username) return [];
  try {
    return [password, decodeURIComponent(password)];
  } catch {
    return [password];
  }
}
