"""A CMake package: `find_package` finds it in place or installed, `add_subdirectory` takes it too; it gives the target {name}::{name}."""

FILES = {
    "CMakeLists.txt": "cmake/CMakeLists.txt.j2",
    "{name}-config.cmake": "cmake/config.cmake.j2",
    "{name}-config-version.cmake": "cmake/version.cmake.j2",
    "README.md": "cmake/README.md.j2",
    "include/{name}.h": "header",
    "example/CMakeLists.txt": "cmake/example.cmake.j2",
    "example/{name}_example.c": "example",
}
