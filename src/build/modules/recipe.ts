/**
 * What a module source says of its own build: `dkms.conf`, a shell script that sets variables (dkms(8)). It is read
 * by the shell that it was written for, inside the sandbox; DKMS itself is not used.
 */
import { IngotError } from '../../errors.ts';

export interface ModuleRecipe {
  readonly name: string;
  readonly version: string;
  /** A shell command for the folder of the source. */
  readonly make: string;
  /** A script in that folder which runs first. */
  readonly before?: string;
  /** In its folder `patches`, in the order in which they are applied. */
  readonly patches: readonly string[];
  /** Modules that it makes: names without `.ko`, and folders below that of the source. */
  readonly modules: readonly { readonly name: string; readonly folder: string }[];
}

/** Reads `dkms.conf` in the current folder: release, folder of all sources, how many
 * jobs, machine. Fields end in NUL. */
export const RECIPE_SCRIPT = String.raw`
kernelver=$1 dkms_tree=$2 parallel_jobs=$3 arch=$4
kernel_source_dir=/lib/modules/$kernelver/build source_tree=/usr/src
. ./dkms.conf >&2 || exit 1
say() { printf '%s\0' "$@"; }
set_in() { grep -Eq "^$1=[ym]" "$kernel_source_dir/.config"; }
older() { [ "$1" != "$2" ] && printf '%s\n' "$1" "$2" | sort -V -C; }
refuse() { say refusal "$1"; }

say name "$PACKAGE_NAME" version "$PACKAGE_VERSION"
if [[ $BUILD_EXCLUSIVE_KERNEL && ! $kernelver =~ $BUILD_EXCLUSIVE_KERNEL ]]; then
  refuse "it is for kernels that match $BUILD_EXCLUSIVE_KERNEL"
fi
if [[ $BUILD_EXCLUSIVE_ARCH && ! $arch =~ $BUILD_EXCLUSIVE_ARCH ]]; then
  refuse "it is for machines that match $BUILD_EXCLUSIVE_ARCH"
fi
if [[ $BUILD_EXCLUSIVE_KERNEL_MIN ]] && older "$kernelver" "$BUILD_EXCLUSIVE_KERNEL_MIN"; then
  refuse "it is for kernels from $BUILD_EXCLUSIVE_KERNEL_MIN on"
fi
if [[ $BUILD_EXCLUSIVE_KERNEL_MAX ]] && older "$BUILD_EXCLUSIVE_KERNEL_MAX" "$kernelver"; then
  refuse "it is for kernels up to $BUILD_EXCLUSIVE_KERNEL_MAX"
fi
for option in $BUILD_EXCLUSIVE_CONFIG; do
  case $option in
    !*) if set_in "${"${"}option#!}"; then refuse "it is for kernels without ${"${"}option#!}"; fi ;;
    *) if ! set_in "$option"; then refuse "it is for kernels with $option"; fi ;;
  esac
done

chosen=
for i in "${"${"}!MAKE[@]}"; do
  if [[ ${"${"}MAKE_MATCH[i]} ]]; then
    [[ $kernelver =~ ${"${"}MAKE_MATCH[i]} ]] && chosen=${"${"}MAKE[i]}
  elif [[ ! $chosen ]]; then
    chosen=${"${"}MAKE[i]}
  fi
done
say make "${"${"}chosen:-make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build}"
say before "$PRE_BUILD"
for i in "${"${"}!PATCH[@]}"; do
  if [[ ! ${"${"}PATCH_MATCH[i]} || $kernelver =~ ${"${"}PATCH_MATCH[i]} ]]; then say patch "${"${"}PATCH[i]}"; fi
done
[[ ${"${"}#BUILT_MODULE_NAME[@]} -gt 0 ]] || BUILT_MODULE_NAME=("$PACKAGE_NAME")
for i in "${"${"}!BUILT_MODULE_NAME[@]}"; do
  say module "${"${"}BUILT_MODULE_NAME[i]}" folder "${"${"}BUILT_MODULE_LOCATION[i]}"
done
`;

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+~-]*$/;

/**
 * @param source the package and its version, for messages
 * @throws IngotError BUILD_FAILED for a source that is not for this kernel, or whose words cannot be names
 */
export function parseRecipe(output: string, source: string, release: string): ModuleRecipe {
  const fields = output.split('\0');
  fields.pop();
  const pairs: [key: string, value: string][] = [];
  for (let at = 0; at + 1 < fields.length; at += 2) pairs.push([fields[at] ?? '', fields[at + 1] ?? '']);
  const all = (key: string): string[] => pairs.flatMap(([name, value]) => (name === key ? [value] : []));
  const one = (key: string): string => all(key)[0] ?? '';
  const refusals = all('refusal');
  if (refusals.length > 0) {
    throw new IngotError('BUILD_FAILED', `${source} does not build for ${release}: ${refusals.join('; ')}`, {
      hint: 'take another kernel, or another version of the driver',
    });
  }
  const name = nameIn(one('name'), 'PACKAGE_NAME', source);
  const version = nameIn(one('version'), 'PACKAGE_VERSION', source);
  const folders = all('folder');
  const modules = all('module').map((module, index) => ({
    name: nameIn(module, 'BUILT_MODULE_NAME', source),
    folder: folderIn(folders[index] ?? '', source),
  }));
  const names = modules.map((module) => module.name);
  const twice = names.find((module, index) => names.indexOf(module) !== index);
  if (twice !== undefined) throw strange(source, `it makes the module ${twice} twice`);
  const before = one('before').trim();
  return {
    name,
    version,
    make: one('make'),
    patches: all('patch').map((patch) => nameIn(patch, 'PATCH', source)),
    modules,
    ...(before !== '' && { before }),
  };
}

function nameIn(text: string, variable: string, source: string): string {
  if (NAME.test(text)) return text;
  throw strange(source, `its ${variable} is ${JSON.stringify(text)}`);
}

function folderIn(text: string, source: string): string {
  const parts = text.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.every((part) => NAME.test(part))) return parts.join('/');
  throw strange(source, `its BUILT_MODULE_LOCATION is ${JSON.stringify(text)}`);
}

function strange(source: string, what: string): IngotError {
  return new IngotError('BUILD_FAILED', `the dkms.conf of ${source} cannot be followed: ${what}`);
}
