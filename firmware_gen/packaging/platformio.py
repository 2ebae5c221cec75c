"""A PlatformIO library, by the schema of library.json: header in include/, an example project that streams an IMU."""

FILES = {
    "library.json": "platformio/library.json.j2",
    "README.md": "platformio/README.md.j2",
    "include/{name}.h": "header",
    "examples/stream_imu/platformio.ini": "platformio/platformio.ini.j2",
    "examples/stream_imu/src/main.cpp": "arduino/StreamIMU.ino.j2",
    "examples/stream_imu/src/classifier.h": "shared/classifier.h.j2",
    "examples/stream_imu/src/classifier.c": "shared/classifier.c.j2",
}
