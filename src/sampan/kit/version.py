"""Version: that of this package, as its metadata has it too."""

VERSION = "0.1.0.dev0"
