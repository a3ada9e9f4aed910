// The configuration of a node's own containerd. Written in the version-2 form, which 1.6, 1.7 and 2.x all read.

export interface ContainerdPaths {
  readonly root: string;
  readonly state: string;
  readonly socket: string;
  readonly cniConfDir: string;
  readonly cniBinDir: string;
  readonly sandboxImage: string;
}

export function renderContainerdConfig(paths: ContainerdPaths): string {
  const text = JSON.stringify; // a JSON string is a TOML basic string
  return `version = 2
root = ${text(paths.root)}
state = ${text(paths.state)}
oom_score = 0
# Both would write outside of these directories: /opt/containerd, and a socket below /run that several labs would share.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
  address = ${text(paths.socket)}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${text(paths.sandboxImage)}
  # Where CAP_SYS_RESOURCE is missing (containers, many CI machines) a negative oom_score_adj is refused.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${text(paths.cniBinDir)}
    conf_dir = ${text(paths.cniConfDir)}
    max_conf_num = 1
`;
}
