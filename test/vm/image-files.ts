// What the image of the virtual machine has beside Debian's packages: how a node is prepared for Kubernetes, and a way
// for the suite to run scripts inside. Nothing here names the agent: it is installed by the suite, as on any machine.

/** The suite's scripts are taken on this port of the machine. */
export const SHELL_PORT = 2222;

/** Printed after a script's output, before its exit code. */
export const EXIT_MARK = 'vm-shell-exit:';

/** Runs what the connection says up to its end. The script must not read the connection: its input is empty. */
const SHELL = `#!/bin/bash
script=$(cat)
bash -c "$script" 2>&1 </dev/null
echo "${EXIT_MARK}$?"
`;

/** The address is on the kernel's command line, so that one image serves every lab. */
const NETWORK = `#!/bin/sh -e
for word in $(cat /proc/cmdline); do
  case $word in
    vm.address=*) address=\${word#*=} ;;
    vm.gateway=*) gateway=\${word#*=} ;;
  esac
done
modprobe virtio_net
ip address replace "$address" dev eth0
ip link set eth0 up
ip route replace default via "$gateway"
`;

/** containerd as kubeadm's documentation wants it on a host with systemd. */
const CONTAINERD = `version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
`;

/** What is looked for at boot: of all that a machine could have, most costs time and modules that nobody uses. */
const subsystems = ['acpi', 'block', 'input', 'net', 'virtio'].map((name) => `--subsystem-match=${name}`).join(' ');

const unit = (...lines: string[]): string => `${lines.join('\n')}\n`;

export interface ImageFile {
  readonly content: string;
  readonly mode?: number;
}

/** By path. */
export const IMAGE_FILES: Readonly<Record<string, ImageFile>> = {
  '/etc/hostname': { content: 'vm\n' },
  '/etc/machine-id': { content: '' }, // each copy gives itself one
  '/etc/fstab': { content: '' },
  '/etc/containerd/config.toml': { content: CONTAINERD },
  '/etc/modules-load.d/kubernetes.conf': { content: 'overlay\nbr_netfilter\n' },
  '/etc/sysctl.d/kubernetes.conf': {
    content: 'net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\nvm.overcommit_memory = 1\n',
  },
  // Kept in memory: nobody reads it once the machine is off.
  '/etc/systemd/journald.conf.d/vm.conf': { content: '[Journal]\nStorage=volatile\n' },
  '/etc/systemd/system/systemd-udev-trigger.service.d/vm.conf': {
    content: unit('[Service]', 'ExecStart=', `ExecStart=-udevadm trigger --action=add ${subsystems}`),
  },
  '/usr/local/sbin/vm-shell': { content: SHELL, mode: 0o755 },
  '/usr/local/sbin/vm-network': { content: NETWORK, mode: 0o755 },
  '/etc/systemd/system/vm-shell.socket': {
    content: unit('[Socket]', `ListenStream=${SHELL_PORT}`, 'Accept=yes', 'MaxConnections=16'),
  },
  '/etc/systemd/system/vm-shell@.service': {
    content: unit('[Service]', 'ExecStart=-/usr/local/sbin/vm-shell', 'StandardInput=socket', 'StandardError=journal'),
  },
  '/etc/systemd/system/vm-network.service': {
    content: unit(
      '[Unit]',
      'DefaultDependencies=no',
      'After=systemd-modules-load.service systemd-remount-fs.service',
      'Before=network.target network-online.target shutdown.target',
      'Wants=network.target',
      '[Service]',
      'Type=oneshot',
      'RemainAfterExit=yes',
      'ExecStart=/usr/local/sbin/vm-network',
    ),
  },
};

/** Started at boot: unit → the target that wants it. */
export const WANTED_UNITS: Readonly<Record<string, string>> = {
  'vm-shell.socket': 'sockets.target',
  'vm-network.service': 'multi-user.target',
};

/** Would only make an emulated boot slower, or do their work in the middle of a test. */
export const MASKED_UNITS = [
  ...['apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'e2scrub_all.timer', 'fstrim.timer'],
  ...['getty@tty1.service', 'serial-getty@ttyS0.service', 'e2scrub_reap.service', 'systemd-pstore.service'],
  ...['systemd-sysusers.service', 'systemd-update-utmp.service', 'systemd-update-utmp-runlevel.service'],
  ...['configfs', 'dm_mod', 'drm', 'efi_pstore', 'fuse', 'loop'].map((module) => `modprobe@${module}.service`),
  ...['sys-fs-fuse-connections.mount', 'sys-kernel-config.mount'],
  ...['sys-kernel-debug.mount', 'sys-kernel-tracing.mount'],
];
