/** Health checks as nodes run them: shell commands, whatever they were written as. */
import type { HealthCheck } from './node-image.ts';

/** As declarations and layers write it: `run` or `http`, which the schema sees to. */
export interface WrittenCheck {
  readonly name: string;
  readonly run?: string | undefined;
  readonly http?: string | undefined;
  readonly service?: string | undefined;
  readonly timeoutSeconds: number;
}

export function healthCheck({ name, run, http, service, timeoutSeconds }: WrittenCheck): HealthCheck {
  return { name, run: run ?? renderHttpCheck(http ?? '', service, timeoutSeconds), timeoutSeconds };
}

/**
 * Asks until the answer is good or the time is up. bash speaks TCP itself, so that no image needs a program for it.
 * Arguments: host, port, path, seconds.
 */
const ASK = String.raw`
trap "" PIPE
cr=$(printf "\r")
last="nothing listens on port $2"
while :; do
  if exec 3<>"/dev/tcp/$1/$2"; then
    printf "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" "$3" "$1" >&3
    last="port $2 takes the question and does not answer"
    IFS= read -r -t 10 -d "$cr" line <&3 && last=$line
    exec 3>&-
    [[ $last == HTTP/1.?\ 2* ]] && break
  fi
  ((SECONDS < $4)) || { printf "%s: %s\n" "$3" "$last"; exit 1; }
  sleep 1
done 2>/dev/null
printf "%s: %s\n" "$3" "$last"
`;

/**
 * @param http an address of loopback, without quotes and spaces
 * @param service a unit that has conditions of its own: one that they keep from running is not asked
 */
export function renderHttpCheck(http: string, service: string | undefined, timeoutSeconds: number): string {
  const { hostname, port, pathname, search } = new URL(http);
  const words = [hostname, port === '' ? '80' : port, `${pathname}${search}`, String(timeoutSeconds)];
  const ask = ['exec', 'bash', '--norc', '-c', `'${ASK}'`, 'ask', ...words.map((word) => `'${word}'`)].join(
    ' ',
  );
  return service === undefined ? ask : `${renderCondition(service)}\n${ask}`;
}

/** systemd has tried to start it, and it was not to be. */
function renderCondition(service: string): string {
  const property = (name: string): string => `"$(systemctl show --value --property=${name} '${service}')"`;
  return [
    `if [ ${property('ConditionResult')} = no ] && [ ${property('ConditionTimestampMonotonic')} != 0 ]; then`,
    `  echo 'the conditions of ${service} keep it from running: there is nothing to ask'`,
    '  exit 0',
    'fi',
  ].join('\n');
}
