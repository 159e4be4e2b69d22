/**
 * dnf, through its Python API: its command line prints a table for people. Reference: DNF API (dnf.Base, dnf.goal).
 * It runs from a root of its own and without network: the indexes are in folders, the root is a package database.
 */
import * as z from 'zod';

import { IngotError } from '../errors.ts';
import type { Argv } from '../proc/run.ts';

/** What is asked: paths are those that the program sees. */
export interface DnfRequest {
  /** A root that holds nothing but the package database to add to, at `var/lib/rpm`. */
  readonly root: string;
  /** `x86_64`, `aarch64`. */
  readonly architecture: string;
  readonly repositories: readonly {
    readonly id: string;
    readonly folder: string;
    readonly priority: number;
    readonly excludes: readonly string[];
  }[];
  readonly wanted: readonly { readonly name: string; readonly version?: string | undefined }[];
  /** Versions to stay with where they fit. */
  readonly keep: readonly { readonly name: string; readonly version: string }[];
}

const DnfPackage = z.strictObject({
  name: z.string(),
  /** `epoch:version-release`; an epoch of 0 is not written. */
  version: z.string(),
  architecture: z.string(),
  sha256: z.string(),
  size: z.int().nonnegative(),
  /** Relative to the root of the repository. */
  location: z.string(),
  repository: z.string(),
  source: z.string(),
  /** Names of the chosen packages that satisfy what it requires. */
  depends: z.array(z.string()),
  /** It holds /usr/lib/modules/RELEASE/vmlinuz. */
  kernel: z.boolean(),
});
export type DnfPackage = z.infer<typeof DnfPackage>;

const DnfAnswer = z.union([
  z.strictObject({ packages: z.array(DnfPackage) }),
  z.strictObject({
    unknown: z.array(z.strictObject({ name: z.string(), versions: z.array(z.string()) })),
    names: z.array(z.string()),
  }),
  z.strictObject({ problems: z.array(z.string()) }),
]);
export type DnfAnswer = z.infer<typeof DnfAnswer>;

/**
 * Weak dependencies are left out, as those of Debian's packages are. Nothing that is installed is removed, but by a
 * package that obsoletes it. A package whose checksum is not SHA-256 gives an empty one.
 */
const PROGRAM = `
import json, re, sys, dnf, hawkey, rpm

asked = json.load(sys.stdin)
rpm.addMacro("_dbpath", "/var/lib/rpm")
base = dnf.Base()
conf = base.conf
conf.installroot = asked["root"]
conf.reposdir = []
conf.varsdir = []
conf.pluginpath = []
conf.cachedir = asked["root"] + "/cache"
conf.persistdir = "/tmp"
conf.logdir = "/tmp"
conf.substitutions["arch"] = asked["architecture"]
conf.substitutions["basearch"] = asked["architecture"]
conf.substitutions["releasever"] = ""
conf.install_weak_deps = False
conf.installonlypkgs = []
conf.best = False
conf.optional_metadata_types = ["filelists"]
conf.module_platform_id = asked.get("platform") or ""
for one in asked["repositories"]:
    repo = dnf.repo.Repo(one["id"], conf)
    repo.baseurl = ["file://" + one["folder"]]
    repo.priority = one["priority"]
    repo.exclude = one["excludes"]
    repo.gpgcheck = repo.repo_gpgcheck = False
    repo.enable()
    base.repos.add(repo)
base.fill_sack(load_system_repo=True)
foreign = base.sack.query().available().filterm(arch__neq=[asked["architecture"], "noarch"])
base.sack.add_excludes(foreign)

def evr(package):
    epoch = "%d:" % package.epoch if package.epoch else ""
    return "%s%s-%s" % (epoch, package.version, package.release)

def candidates(name):
    return base.sack.query().filterm(name=name)

def matches(package, version):
    return version in (evr(package), package.version, package.version + "-" + package.release)

def answer(value):
    json.dump(value, sys.stdout)
    sys.exit(0)

unknown = []
for want in asked["wanted"]:
    version = want.get("version")
    found = [p for p in candidates(want["name"]) if version is None or matches(p, version)]
    if not found:
        versions = sorted(set(evr(p) for p in candidates(want["name"])))
        unknown.append({"name": want["name"], "versions": versions})
if unknown:
    answer({"unknown": unknown, "names": sorted(set(p.name for p in base.sack.query().available()))})

def solve(kept):
    base.sack.reset_excludes()
    base.sack.add_excludes(foreign)
    for name, version in kept.items():
        others = [p for p in base.sack.query().available().filterm(name=name) if evr(p) != version]
        base.sack.add_excludes(base.sack.query().filterm(pkg=others))
    goal = dnf.goal.Goal(base.sack)
    for want in asked["wanted"]:
        version = want.get("version")
        packages = [p for p in candidates(want["name"]) if version is None or matches(p, version)]
        installed = [p for p in packages if p.reponame == hawkey.SYSTEM_REPO_NAME]
        selector = dnf.selector.Selector(base.sack)
        selector.set(pkg=installed or packages)
        goal.install(select=selector)
    return goal, goal.run(ignore_weak_deps=True)

def complaints(goal):
    return list(dict.fromkeys(line for rule in goal.problem_rules() for line in rule))

there = set((p.name, evr(p)) for p in base.sack.query())
exact = set(want["name"] for want in asked["wanted"] if want.get("version"))
kept = {k["name"]: k["version"] for k in asked["keep"] if (k["name"], k["version"]) in there and k["name"] not in exact}
goal, solved = solve(kept)
while not solved and kept:
    text = " ".join(complaints(goal))
    blamed = [name for name in kept if (name + "-") in text or (name + " ") in text] or list(kept)
    for name in blamed:
        del kept[name]
    goal, solved = solve(kept)
if not solved:
    answer({"problems": complaints(goal)})
chosen = goal.list_installs() + goal.list_upgrades() + goal.list_downgrades() + goal.list_reinstalls()
if goal.list_erasures():
    answer({"problems": ["%s would be removed" % p for p in goal.list_erasures()]})
query = base.sack.query().filterm(pkg=chosen) if chosen else None

def depends(package):
    names = set()
    for requirement in list(package.requires) + list(package.requires_pre):
        for provider in query.filter(provides=[requirement]):
            names.add(provider.name)
    names.discard(package.name)
    return sorted(names)

def checksum(package):
    kind, value = package.chksum
    return value.hex() if kind == hawkey.CHKSUM_SHA256 else ""

answer({"packages": [{
    "name": p.name,
    "version": evr(p),
    "architecture": p.arch,
    "sha256": checksum(p),
    "size": p.downloadsize,
    "location": p.location,
    "repository": p.reponame,
    "source": p.source_name or p.name,
    "depends": depends(p),
    "kernel": any(re.match("(/usr)?/lib/modules/[^/]+/vmlinuz$", path) for path in p.files),
} for p in sorted(chosen, key=lambda p: (p.name, p.arch))]})
`;

export function dnfSolveArgv(): Argv {
  return ['python3', '-I', '-c', PROGRAM];
}

/** @throws IngotError TOOL_FAILED for what is no answer */
export function parseDnfAnswer(text: string): DnfAnswer {
  try {
    return DnfAnswer.parse(JSON.parse(text));
  } catch (error) {
    throw new IngotError('TOOL_FAILED', 'dnf gives no answer that can be read', {
      hint: 'this is a bug of Ingot, or of the root that dnf runs from',
      cause: error,
    });
  }
}
