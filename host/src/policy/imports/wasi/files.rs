//! The files of granted folders. A call waits for them at most until its deadline, because some
//! files may not respond.

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::filesystem::types as waiting;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, Host, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::sync::io::streams::{Error, InputStream, OutputStream};
use wasmtime_wasi::p2::{FsError, FsResult};

use super::Time;

/// The files of an instance, and the time that its call may wait.
pub struct Files<'a> {
    files: WasiFilesystemCtxView<'a>,
    time: Time<'a>,
}

impl HasData for Files<'static> {
    type Data<'a> = Files<'a>;
}

impl<'a> Files<'a> {
    pub fn new(files: WasiFilesystemCtxView<'a>, time: Time<'a>) -> Self {
        Self { files, time }
    }
}

/// Defines functions that wait for the asynchronous ones of the same name.
macro_rules! wait {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => { $(
        fn $name(
            &mut self,
            descriptor: Resource<Descriptor>,
            $($argument: $type),*
        ) -> FsResult<$result> {
            let files = &mut self.files;
            let result = waiting::HostDescriptor::$name(files, descriptor, $($argument.into()),*);
            Ok(self.time.settle(result).map_err(FsError::trap)??.into())
        }
    )* };
}

impl Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        Host::convert_error_code(&mut self.files, error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Host::filesystem_error_code(&mut self.files, error)
    }
}

impl HostDescriptor for Files<'_> {
    wait! {
        advise(offset: Filesize, len: Filesize, advice: Advice) -> ();
        sync_data() -> ();
        get_flags() -> DescriptorFlags;
        get_type() -> DescriptorType;
        set_size(size: Filesize) -> ();
        set_times(accessed: NewTimestamp, modified: NewTimestamp) -> ();
        read(len: Filesize, offset: Filesize) -> (Vec<u8>, bool);
        write(bytes: Vec<u8>, offset: Filesize) -> Filesize;
        read_directory() -> Resource<DirectoryEntryStream>;
        sync() -> ();
        create_directory_at(path: String) -> ();
        stat() -> DescriptorStat;
        stat_at(flags: PathFlags, path: String) -> DescriptorStat;
        set_times_at(
            flags: PathFlags, path: String, accessed: NewTimestamp, modified: NewTimestamp
        ) -> ();
        link_at(
            flags: PathFlags, path: String, folder: Resource<Descriptor>, to: String
        ) -> ();
        open_at(
            path_flags: PathFlags, path: String, open_flags: OpenFlags, flags: DescriptorFlags
        ) -> Resource<Descriptor>;
        readlink_at(path: String) -> String;
        remove_directory_at(path: String) -> ();
        rename_at(path: String, folder: Resource<Descriptor>, to: String) -> ();
        symlink_at(target: String, path: String) -> ();
        unlink_file_at(path: String) -> ();
        metadata_hash() -> MetadataHashValue;
        metadata_hash_at(flags: PathFlags, path: String) -> MetadataHashValue;
    }

    fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let files = &mut self.files;
        self.time.settle(waiting::HostDescriptor::is_same_object(files, one, other))?
    }

    fn read_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<InputStream>> {
        HostDescriptor::read_via_stream(&mut self.files, descriptor, offset)
    }

    fn write_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<OutputStream>> {
        HostDescriptor::write_via_stream(&mut self.files, descriptor, offset)
    }

    fn append_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
    ) -> FsResult<Resource<OutputStream>> {
        HostDescriptor::append_via_stream(&mut self.files, descriptor)
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> wasmtime::Result<()> {
        HostDescriptor::drop(&mut self.files, descriptor)
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let files = &mut self.files;
        let entry = waiting::HostDirectoryEntryStream::read_directory_entry(files, stream);
        Ok(self.time.settle(entry).map_err(FsError::trap)??.map(Into::into))
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        HostDirectoryEntryStream::drop(&mut self.files, stream)
    }
}
