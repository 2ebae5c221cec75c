"""A Zephyr module, by the schema of zephyr/module.yml in Zephyr's own scripts: a Kconfig option puts the header on the include path."""

FILES = {
    "zephyr/module.yml": "zephyr/module.yml.j2",
    "CMakeLists.txt": "zephyr/CMakeLists.txt.j2",
    "Kconfig": "zephyr/Kconfig.j2",
    "README.md": "zephyr/README.md.j2",
    "include/{name}.h": "header",
    "samples/stream_imu/CMakeLists.txt": "zephyr/sample.cmake.j2",
    "samples/stream_imu/prj.conf": "zephyr/prj.conf.j2",
    "samples/stream_imu/sample.yaml": "zephyr/sample.yaml.j2",
    "samples/stream_imu/app.overlay": "zephyr/app.overlay.j2",
    "samples/stream_imu/src/main.c": "zephyr/main.c.j2",
}
