/** Native code stays outside of Next's bundle. */
export default { serverExternalPackages: ['lateforge'] }
