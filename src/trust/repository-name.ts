/** What signatures call a repository. */

/** cosign writes down where Docker Hub's images are served; everybody else calls them docker.io/…. */
const DOCKER_HUB = /^(?:index|registry-1)\.docker\.io\//;

/** Whether two names, `host[:port]/path`, are those of one repository. */
export function isSameRepository(one: string, other: string): boolean {
  return one.replace(DOCKER_HUB, 'docker.io/') === other.replace(DOCKER_HUB, 'docker.io/');
}
