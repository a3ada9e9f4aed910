// What a kind of plugin (CSI driver, device plugin, DRA driver) brings to be found through the registration directory.
// After pkg/kubelet/pluginmanager/cache/types.go.

export interface PluginInfo {
  /** `CSIPlugin`, `DevicePlugin`, `DRAPlugin`. */
  readonly type: string;
  /** The plugin's own name, e.g. that of a CSI driver. */
  readonly name: string;
  /** Path of the socket that serves the plugin itself: it may be another than the one it registered with. */
  readonly endpoint: string;
  readonly supportedVersions: readonly string[];
}

export interface PluginHandler {
  /** @throws when a plugin of this name and these versions cannot be taken; the text is told to the plugin. */
  validate(plugin: PluginInfo): void;
  /** Takes the plugin into use. It may be called again for one that is in use. @throws as `validate` does. */
  register(plugin: PluginInfo, signal: AbortSignal): Promise<void>;
  /** The registration socket has gone, or the plugin could not be told of its success. Idempotent. */
  deregister(plugin: PluginInfo, signal: AbortSignal): Promise<void>;
}
